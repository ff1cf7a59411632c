-- Stores what was fetched, if the lease is still the caller's: an order to forget the image takes it away.
-- KEYS: lease, where to, what it replaces...   ARGV: token, value, life in ms, channel, news.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[1], unpack(KEYS, 3))
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
