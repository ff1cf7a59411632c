-- Stores the description of a walk, if the lease is still the caller's and the clock has not been set since its grant.
-- KEYS: lease, description.   ARGV: token, description, lifetime in ms, clock as the caller expects it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('GET', KEYS[1]) ~= ARGV[1] or math.abs(now - ARGV[4]) > 1000 then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
