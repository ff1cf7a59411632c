-- Stores the description of a whole walk, if the lease is still the caller's.
-- KEYS: lease, description.   ARGV: token, description, lifetime in ms.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
