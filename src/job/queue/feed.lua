-- Lines for the workers, each unless it is there, or answered, already.
-- KEYS: as of open.lua. ARGV: owner, job's id, and of each line its number, custom_id, url and body.
local known = redis.call('HMGET', KEYS[1], 'id', 'owner')
if not known[1] or redis.call('EXISTS', KEYS[2]) == 0 then
  return 'gone'
end
if known[1] ~= ARGV[2] or known[2] ~= ARGV[1] then
  return 'lost'
end
for at = 3, #ARGV, 4 do
  local line = ARGV[at]
  if redis.call('HEXISTS', KEYS[4], line) == 0 then
    local id = redis.call('XADD', KEYS[2], '*', 'l', line, 'c', ARGV[at + 1], 'u', ARGV[at + 2], 'b', ARGV[at + 3])
    redis.call('HSET', KEYS[4], line, id)
  end
end
return 'ok'
