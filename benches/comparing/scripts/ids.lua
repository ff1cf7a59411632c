-- The SDK's request, for a sequence of images.
-- Arguments: template, first number, how many images, order:
--   prepared   all requests are built beforehand, and sent in turn
--   random     any of the images
--   ascending  each image once
local before, after, first, many, order
local prepared, sent = {}, 0

local function write(number)
  return string.format("%simage-%018d%s", before, number, after)
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local template = file:read("*a")
  file:close()
  local at, ends = template:find("@ID@", 1, true)
  before, after = template:sub(1, at - 1), template:sub(ends + 1)
  first, many, order = tonumber(args[2]), tonumber(args[3]), args[4]
  if order == "prepared" then
    for number = 1, many do prepared[number] = write(first + number - 1) end
  end
end

function request()
  sent = sent + 1
  if order == "prepared" then return prepared[sent % many + 1] end
  if order == "random" then return write(first + math.random(many) - 1) end
  return write(first + sent)
end

function done(summary)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('\n{"answered":%d,"refused":%d,"failed":%d,"seconds":%f}\n',
    summary.requests, errors.status, failed, summary.duration / 1e6))
end
