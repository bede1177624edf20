-- Whoever feeds and gathers ends: with every line settled, or not.
-- KEYS: as of open.lua. ARGV: owner, job's id, 'done' or 'left', milliseconds that the end is told to workers.
local known = redis.call('HMGET', KEYS[1], 'id', 'owner')
if known[1] ~= ARGV[2] or known[2] ~= ARGV[1] then
  return 0
end
redis.call('HDEL', KEYS[1], 'owner', 'seen')
if ARGV[3] == 'done' then
  redis.call('HSET', KEYS[1], 'state', 'done')
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return 1
