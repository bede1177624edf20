-- A worker ends: what it has not done is anybody's at once.
-- KEYS: as of open.lua. ARGV: worker, job's id.
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[6], ARGV[1])
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[2] or redis.call('EXISTS', KEYS[2]) == 0 then
  return 0
end
local left, from = 0, '-'
while true do
  local pending = redis.call('XPENDING', KEYS[2], 'workers', from, '+', 100, ARGV[1])
  for _, entry in ipairs(pending) do
    -- Idle for longer than anyone waits before a claim.
    redis.call('XCLAIM', KEYS[2], 'workers', 'left', 0, entry[1], 'IDLE', 2000000000, 'JUSTID')
    from, left = '(' .. entry[1], left + 1
  end
  if #pending < 100 then
    break
  end
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[2], 'workers', ARGV[1])
return left
