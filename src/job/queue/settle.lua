-- Results of a worker: each is stored and its item done with in one piece, the first of each line alone.
-- KEYS: as of open.lua. ARGV: worker, job's id, the turn of these results, and of each its line, whether it is good, tokens in and out,
-- picodollars and text. A turn that is said twice, since its answer was lost, is one.
local id = redis.call('HGET', KEYS[1], 'id')
if not id or redis.call('EXISTS', KEYS[2]) == 0 then
  return (id == ARGV[2] and redis.call('HGET', KEYS[1], 'state') == 'done') and 'over' or 'none'
end
if id ~= ARGV[2] then
  return 'over'
end
if tonumber(redis.call('HGET', KEYS[6], ARGV[1]) or '0') >= tonumber(ARGV[3]) then
  return 'ok'
end
redis.call('HSET', KEYS[6], ARGV[1], ARGV[3])
for at = 4, #ARGV, 6 do
  local line, good, text = ARGV[at], ARGV[at + 1], ARGV[at + 5]
  local item = redis.call('HGET', KEYS[4], line)
  if not item or item == '=' then
    -- Somebody else was first. It was paid for all the same.
    redis.call('HINCRBY', KEYS[1], 'twice', 1)
    good, text = '2', ''
  else
    redis.call('XACK', KEYS[2], 'workers', item)
    redis.call('XDEL', KEYS[2], item)
    redis.call('HSET', KEYS[4], line, '=')
  end
  redis.call('XADD', KEYS[3], '*', 'l', line, 'g', good, 'i', ARGV[at + 2], 'o', ARGV[at + 3], 'p', ARGV[at + 4], 't', text)
end
return 'ok'
