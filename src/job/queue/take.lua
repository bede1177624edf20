-- Items for a worker: those whose worker is lost, and new ones.
-- KEYS: as of open.lua. ARGV: worker, job's id or nothing, how many, where to look for lost ones from, or nothing.
local known = redis.call('HMGET', KEYS[1], 'id', 'state', 'claim')
if not known[1] then
  return { 'none', '', '0', '', {}, {} }
end
if ARGV[2] ~= '' and known[1] ~= ARGV[2] then
  return { 'over', known[1], '0', '', {}, {} }
end
if known[2] == 'done' then
  return { 'done', known[1], known[3], '', {}, {} }
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  return { 'none', '', '0', '', {}, {} }
end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[5], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1])
local function plain(entries)
  local all = {}
  for _, entry in ipairs(entries) do
    local of = entry and entry[2]
    if of then
      all[#all + 1] = { entry[1], of[2], of[4], of[6], of[8] }
    end
  end
  return all
end
local most, claimed, cursor = tonumber(ARGV[3]), {}, ''
if ARGV[4] ~= '' and most > 0 then
  local found = redis.call('XAUTOCLAIM', KEYS[2], 'workers', ARGV[1], known[3], ARGV[4], 'COUNT', most)
  cursor, claimed = found[1], plain(found[2])
  if #claimed > 0 then
    redis.call('HINCRBY', KEYS[1], 'claimed', #claimed)
  end
end
local new = {}
if most > #claimed then
  local read = redis.call('XREADGROUP', 'GROUP', 'workers', ARGV[1], 'COUNT', most - #claimed, 'STREAMS', KEYS[2], '>')
  new = read and plain(read[1][2]) or {}
end
return { 'open', known[1], known[3], cursor, claimed, new }
