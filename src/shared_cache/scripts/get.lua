-- Returns the stored value of an image, or grants the caller the lease to fetch it, in one step.
-- KEYS: image, negative answer, lease.   ARGV: token, lease in ms, greatest age in ms, "1" to ignore a stored
-- value, greatest length of a value.
-- Returns { clock in ms, state, value, marker, ms }. States: 0 the value is fresh · 1 the caller has the lease ·
-- 2 another has the lease, for that many ms · 3 its holder failed, with the marker. A stored value that is not
-- fresh comes with the last three.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Ignores a key of another type or too long a value, which no gateway wrote. A value sent later than now is of a
-- clock that was set back since.
local function text(key)
  local length = redis.pcall('STRLEN', key)
  if type(length) == 'number' and length > tonumber(ARGV[5]) then
    return nil
  end
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or nil
end
local held = ''
if ARGV[4] ~= '1' then
  held = text(KEYS[1]) or text(KEYS[2]) or ''
  local sent, till = tonumber(string.sub(held, 1, 16)), tonumber(string.sub(held, 17, 32))
  if sent and till and now < till and sent <= now + 1000 and now - sent <= tonumber(ARGV[3]) then
    return { now, 0, held, '', 0 }
  end
end
local lease = text(KEYS[3])
local left = redis.call('PTTL', KEYS[3])
-- A lease without an expiry would never be given back.
if not lease or left < 0 then
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
  return { now, 1, held, '', 0 }
end
if string.sub(lease, 1, 1) == '!' then
  return { now, 3, held, lease, 0 }
end
return { now, 2, held, '', left }
