-- For wrk: POSTs $BODY, and ends with one line of JSON.
wrk.method = 'POST'
wrk.body = os.getenv('BODY')
done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  local text = '{"requests":%d,"above399":%d,"failed":%d,"p99":%f}'
  io.write(string.format(text, summary.requests, errors.status, failed, latency:percentile(99) / 1000))
end
