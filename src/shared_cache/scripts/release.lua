-- Gives the lease back, or replaces it for some ms with the marker of a failed fetch.
-- KEYS: lease.   ARGV: token, marker or "", ms, channel, message.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
