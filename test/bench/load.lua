-- For wrk: POSTs $BODY, and ends with one line of JSON.
wrk.method = 'POST'
wrk.body = os.getenv('BODY')
done = function(summary, latency)
  local rate = summary.requests / summary.duration * 1e6
  io.write(string.format('{"rate":%f,"p99":%f}', rate, latency:percentile(99) / 1000))
end
