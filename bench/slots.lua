-- Lets wrk count which answers come how often, and print that at its end, in the
-- order in which they came first.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  answers = {}
  counts = {}
end

function response(status, headers, body)
  if counts[body] == nil then
    table.insert(answers, body)
    counts[body] = 0
  end
  counts[body] = counts[body] + 1
end

function done(summary, latency, requests)
  for _, thread in ipairs(threads) do
    local counts = thread:get("counts")
    for _, body in ipairs(thread:get("answers")) do
      print("answer " .. body .. " " .. counts[body])
    end
  end
end
