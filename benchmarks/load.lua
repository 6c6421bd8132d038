-- wrk: one request after the other, each for a host drawn at random from a file (first argument).
-- Requests are written once, so that drawing costs the client as little as a fixed request would.
local requests = {}
local thread_count = 0

function setup(thread)
   thread:set("seed", 20261121 + thread_count)
   thread_count = thread_count + 1
end

function init(args)
   math.randomseed(seed)
   for host in io.lines(args[1]) do
      requests[#requests + 1] = wrk.format("GET", "/", { Host = host })
   end
end

function request()
   return requests[math.random(#requests)]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests":%d,"seconds":%f,"failed":%d,"p99_ms":%f}\n',
      summary.requests, summary.duration / 1e6,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      latency:percentile(99) / 1e3))
end
