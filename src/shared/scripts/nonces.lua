-- Begins the record of write nonces where there is none, or anew where nonces may be missing from it.
-- KEYS: since when nonces are recorded.   ARGV: "1" to begin anew.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] == '1' then
  redis.call('SET', KEYS[1], now)
else
  redis.call('SET', KEYS[1], now, 'NX')
end
return 1
