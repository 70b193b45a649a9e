-- wrk: one request for each of @COUNT@ routes in turn, in an order that jumps about. Filled in by xtask/src/bench/curve.rs.
local count, requests, at = @COUNT@, {}, 0

function init()
  for n = 0, count - 1 do
    local headers = { ["Host"] = string.format("@HOST@", n), ["User-Agent"] = "wrk", ["Accept"] = "*/*" }
    requests[n] = wrk.format("GET", string.format("@PATH@", n), headers)
  end
end

function request()
  at = (at + 7919) % count
  return requests[at]
end
