-- Requests from a file, each of them once: a line with the length, then the request.
-- The run ends with the file. Argument: the file.
local file, left

function init(args)
  file = assert(io.open(args[1], "rb"))
  left = tonumber(file:read("*l"))
end

function request()
  left = left - 1
  -- wrk stops after the current events; further requests of its connections are not answered here.
  if left < 256 then wrk.thread:stop() end
  return file:read(tonumber(file:read("*l")))
end

function done(summary)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('\n{"answered":%d,"refused":%d,"failed":%d,"seconds":%f}\n',
    summary.requests, errors.status, failed, summary.duration / 1e6))
end
