-- Reads what is held of an image, or makes the caller the one who fetches it, in one step.
-- KEYS: image, no, lease.   ARGV: token, lease in ms, greatest age taken in ms, "1" to overlook what is held,
-- greatest length of a value.
-- Returns { clock in ms, state, held, mark, ms }. States: 0 it is fresh · 1 the lease is the caller's ·
-- 2 another has the lease, for so many ms yet · 3 who had it failed, as the mark tells. What is held and not
-- fresh comes with the last three.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- What is of another type, too long, or said to be sent later than now, is none of ours or of another clock.
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
-- One without an end would never be given back.
if not lease or left < 0 then
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
  return { now, 1, held, '', 0 }
end
if string.sub(lease, 1, 1) == '!' then
  return { now, 3, held, lease, 0 }
end
return { now, 2, held, '', left }
