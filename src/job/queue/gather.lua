-- The results that have come after one, once those are forgotten that are in their file for good.
-- KEYS: as of open.lua. ARGV: owner, job's id, where to begin, how many, milliseconds that all of it is kept after this, and of each result
-- that is in its file its id and line.
local known = redis.call('HMGET', KEYS[1], 'id', 'owner', 'claim', 'claimed', 'twice')
if not known[1] or redis.call('EXISTS', KEYS[2]) == 0 then
  return { 'gone', '0', '0', 0, {} }
end
if known[1] ~= ARGV[2] or known[2] ~= ARGV[1] then
  return { 'lost', '0', '0', 0, {} }
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'seen', now)
for at = 6, #ARGV, 2 do
  redis.call('XDEL', KEYS[3], ARGV[at])
  redis.call('HDEL', KEYS[4], ARGV[at + 1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now - known[3])
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[5])
end
local all = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[3], ARGV[3], '+', 'COUNT', ARGV[4])) do
  local of = entry[2]
  all[#all + 1] = { entry[1], of[2], of[4], of[6], of[8], of[10], of[12] }
end
return { 'ok', known[4] or '0', known[5] or '0', redis.call('ZCARD', KEYS[5]), all }
