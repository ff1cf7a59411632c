-- Begins the record of write nonces where there is none, or anew where nonces may be missing from it.
-- KEYS: since when nonces are recorded.   ARGV: "0" assume that it is complete, "1" begin anew, "2" the server is new.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] == '1' then
  redis.call('SET', KEYS[1], now)
elseif ARGV[1] == '2' then
  -- A first write may have been signed a second before. Where there is a record, what went with it is lost.
  if not redis.call('SET', KEYS[1], now - 6000, 'NX') then
    redis.call('SET', KEYS[1], now)
  end
else
  redis.call('SET', KEYS[1], now, 'NX')
end
return 1
