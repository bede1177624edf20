-- A worker lives, and still has these items in hand. Those that others have claimed meanwhile stay theirs.
-- KEYS: as of open.lua. ARGV: worker, job's id, and the items' ids.
local known = redis.call('HMGET', KEYS[1], 'id', 'state')
if known[1] ~= ARGV[2] or known[2] ~= 'open' or redis.call('EXISTS', KEYS[2]) == 0 then
  return 0
end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[5], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1])
local mine = 0
for at = 3, #ARGV do
  local id = ARGV[at]
  if #redis.call('XPENDING', KEYS[2], 'workers', id, id, 1, ARGV[1]) > 0 then
    redis.call('XCLAIM', KEYS[2], 'workers', ARGV[1], 0, id, 'JUSTID')
    mine = mine + 1
  end
end
return mine
