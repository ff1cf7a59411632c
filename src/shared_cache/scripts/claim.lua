-- Grants the caller the walks of a group, unless another walks or has walked lately.
-- KEYS: lease.   ARGV: token, lease in ms.   Returns { clock in ms, 1 or 0, ms until the lease is free }.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local left = redis.call('PTTL', KEYS[1])
-- Without an expiry, or without the key itself.
if left < 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return { now, 1, 0 }
end
return { now, 0, left }
