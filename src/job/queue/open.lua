-- The process that feeds a job and gathers its results begins: with a new job, or with one that is there.
-- KEYS: job, items, results, open, workers, turns. ARGV: owner, job's id, milliseconds until an item is claimed, milliseconds of ownership.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'id', 'state', 'owner', 'seen', 'claimed', 'twice')
local own = { 'owner', ARGV[1], 'seen', now, 'claim', ARGV[3] }
if known[1] and known[2] == 'open' and redis.call('EXISTS', KEYS[2]) == 1 then
  if known[3] and known[3] ~= ARGV[1] and now - tonumber(known[4]) < tonumber(ARGV[4]) then
    return { 'owned', known[1], '0', '0' }
  end
  if known[1] ~= ARGV[2] then
    return { 'other', known[1], '0', '0' }
  end
  redis.call('HSET', KEYS[1], unpack(own))
  return { 'joined', known[1], known[5] or '0', known[6] or '0' }
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6])
redis.call('HSET', KEYS[1], 'id', ARGV[2], 'state', 'open', unpack(own))
redis.call('XGROUP', 'CREATE', KEYS[2], 'workers', '0', 'MKSTREAM')
return { 'new', ARGV[2], '0', '0' }
