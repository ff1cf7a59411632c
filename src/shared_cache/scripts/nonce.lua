-- Records the nonce of a signed write, once for the fleet.
-- KEYS: start of the record, nonce.   ARGV: age of the signature in ms (negative: ahead), lifetime in ms.
-- Returns 0 recorded now · 1 recorded before · 2 signed before the record began, so a replay cannot be excluded.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since = redis.pcall('GET', KEYS[1])
since = type(since) == 'string' and tonumber(since)
-- A record that was lost starts anew, and so does one of a clock that was set back.
if not since or since > now + 1000 then
  redis.call('SET', KEYS[1], now)
  since = now
end
if now - tonumber(ARGV[1]) < since + 5000 then
  return 2
end
if redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[2]) then
  return 0
end
return 1
