-- Starts the record of write nonces where there is none, or anew where nonces may be missing from it.
-- KEYS: start of the record.   ARGV: "0" the record is complete, "1" start anew, "2" the server is new.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] == '1' then
  redis.call('SET', KEYS[1], now)
elseif ARGV[1] == '2' then
  -- The first writes may have been signed seconds ago. A record without a log means that data was lost.
  if not redis.call('SET', KEYS[1], now - 6000, 'NX') then
    redis.call('SET', KEYS[1], now)
  end
else
  redis.call('SET', KEYS[1], now, 'NX')
end
return 1
