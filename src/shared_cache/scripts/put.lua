-- Stores an answer if the lease is still the caller's. An invalidation of the image deletes the lease.
-- KEYS: lease, the answer's key, keys to delete...   ARGV: token, value, lifetime in ms, channel, message.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[1], unpack(KEYS, 3))
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
