-- Reads what is held of an image, or makes the caller the one who fetches it, in one step.
-- KEYS: image, no, lease.   ARGV: token, lease in ms, greatest age taken in ms, "1" to overlook what is held.
-- Returns { clock in ms, state, text, ms }: 0 held and fresh (text) · 1 the lease is the caller's (text: what
-- is held, stale) · 2 another has the lease (ms: for how long yet) · 3 who had it failed (text: how).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = ''
if ARGV[4] ~= '1' then
  held = redis.call('GET', KEYS[1]) or redis.call('GET', KEYS[2]) or ''
  local sent, till = tonumber(string.sub(held, 1, 16)), tonumber(string.sub(held, 17, 32))
  if sent and till and now < till and now - sent <= tonumber(ARGV[3]) then
    return { now, 0, held, 0 }
  end
end
local lease = redis.call('GET', KEYS[3])
if not lease then
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
  return { now, 1, held, 0 }
end
if string.sub(lease, 1, 1) == '!' then
  return { now, 3, lease, 0 }
end
return { now, 2, '', redis.call('PTTL', KEYS[3]) }
