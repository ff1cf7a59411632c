-- Takes slots of one operation's pace for a replica, and gives others back.
-- KEYS: slots, latest throttle, replicas whose clients wait.   ARGV: replica, limit, window in ms, hold in ms, slots
-- wanted, those of them that may be taken ahead, slots held ahead, number of the first slot, throttle in ms or 0,
-- number of ended slots, { slot, ms since its end }..., unused slots...
-- Returns { ms until each slot that was got is free, ms until each slot of the fleet is free, number of such replicas,
-- number of the latest throttle, ms until its window ends }.
-- The score of a slot is the time from which it is free: for a call in flight the latest possible one.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local replica, limit, window, hold = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local wanted, urgent, held, first = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local throttle, unused = tonumber(ARGV[9]), 11 + 2 * tonumber(ARGV[10])
local function name(slot)
  return replica .. ':' .. slot
end
for place = 11, unused - 1, 2 do
  -- One millisecond more, for the clock is rounded down.
  redis.call('ZADD', KEYS[1], now - tonumber(ARGV[place + 1]) + window + 1, name(ARGV[place]))
end
for place = unused, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], name(ARGV[place]))
  if score then
    redis.call('ZADD', KEYS[1], tonumber(score) - hold, name(ARGV[place]))
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
-- No slot is free so late, unless the clock was set back.
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + hold + window + 1000, '+inf')
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)

local number, closed = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+):(%d+)$')
number, closed = tonumber(number or 0), tonumber(closed or 0)
if throttle > 0 then
  -- Throttles within one window are the same one, which lowers each replica's rate once.
  number = closed > now and number or now
  closed = math.max(closed, now + throttle)
  -- For as long as a rate takes to grow back, so that a replica without calls meanwhile lowers its own, too.
  redis.call('SET', KEYS[2], number .. ':' .. closed, 'PX', math.max(closed - now, 60000))
end

local granted = {}
local function grant(from)
  redis.call('ZADD', KEYS[1], from + hold, name(first + #granted))
  granted[#granted + 1] = from - now
end
local excess = redis.call('ZCARD', KEYS[1]) - limit
while closed <= now and excess < 0 and #granted < wanted do
  grant(now)
  excess = excess + 1
end

if #granted < wanted then
  if urgent > #granted then
    redis.call('ZADD', KEYS[3], now + window, replica)
  end
  local share = math.floor(limit / math.max(redis.call('ZCARD', KEYS[3]), 1))
  local known = redis.call('ZRANGEBYSCORE', KEYS[1], now, now + window + 1, 'WITHSCORES')
  local free, ahead = #known / 2, math.min(urgent - #granted, math.max(share, 1) - held)
  local from, to = excess + 1, math.min(excess + ahead, free)
  if urgent == 0 and held == 0 and free > excess then
    from, to = free, free
  end
  for place = from, closed <= now and to or 0 do
    redis.call('ZREM', KEYS[1], known[2 * place - 1])
    grant(tonumber(known[2 * place]))
  end
end
local all = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 256)
local taken = {}
for place = 2, #all, 2 do
  taken[place / 2] = tonumber(all[place]) - now
end
redis.call('PEXPIRE', KEYS[1], hold + window)
redis.call('PEXPIRE', KEYS[3], window)
return { granted, taken, redis.call('ZCARD', KEYS[3]), number, closed - now }
