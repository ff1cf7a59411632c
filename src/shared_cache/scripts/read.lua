-- Returns { clock in ms, value }; an empty value if there is none, or one of another type or too long, which no gateway
-- wrote.   KEYS: value.   ARGV: greatest length.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local length = redis.pcall('STRLEN', KEYS[1])
if type(length) ~= 'number' or length > tonumber(ARGV[1]) then
  return { now, '' }
end
return { now, redis.call('GET', KEYS[1]) or '' }
