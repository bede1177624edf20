-- Lends permits and places to one process. KEYS, four for each question: levels, who asks, places, who holds them.
-- ARGV: who asks; then each question as JSON. Replies with JSON for each.
-- Times are the server's own. What nobody uses any more expires.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local me = ARGV[1]
local ACTIVE, HELD = 1, 5

local function exact(number)
  return string.format('%.17g', number)
end

local function permits(levels_key, askers_key, question, reply)
  local limits, need, want = question.limits, question.need, question.want
  redis.call('ZREMRANGEBYSCORE', askers_key, '-inf', exact(now - ACTIVE))
  if math.max(want[1], want[2], want[3]) > 0 then
    redis.call('ZADD', askers_key, exact(now), me)
    redis.call('EXPIRE', askers_key, 2)
  end
  local askers = math.max(1, redis.call('ZCARD', askers_key))
  local stored = redis.call('HMGET', levels_key, unpack((function()
    local names = {}
    for i = 1, #limits do
      names[#names + 1] = 'level' .. i
      names[#names + 1] = 'at' .. i
    end
    return names
  end)()))
  local levels, times, give, wait, longest = {}, {}, { want[1], want[2], want[3] }, 0, 60
  for i, limit in ipairs(limits) do
    local of = limit.of + 1
    local level, at = tonumber(stored[2 * i - 1] or nil), tonumber(stored[2 * i] or nil)
    if limit.rate > 0 then
      if level and at then
        level = math.min(limit.capacity, level + math.max(0, now - at) * limit.rate)
      else
        level = limit.capacity
      end
      level = math.min(limit.capacity, level + question.back[i])
      times[i] = math.max(now, at or now)
      longest = math.max(longest, (limit.capacity - level) / limit.rate + 60)
    else
      local window = math.floor(now / limit.interval)
      if at ~= window or not level then level = limit.capacity end
      times[i] = window
      longest = math.max(longest, limit.interval + 60)
    end
    levels[i] = level
    -- What is above all that there can be goes when that is there.
    local missing = math.min(need[of], limit.capacity) - level
    if need[of] > 0 and missing > 1e-9 then
      if limit.rate > 0 then
        wait = math.max(wait, missing / limit.rate - question.ahead)
      else
        wait = math.max(wait, (times[i] + 1) * limit.interval - now)
      end
    end
    local lendable = level + limit.rate * question.ahead
    give[of] = math.min(give[of], math.max(need[of], math.floor(lendable / askers)))
  end
  if wait > 0 then
    reply.wait = wait
    give = { 0, 0, 0 }
  else
    for of = 1, 3 do
      if give[of] < 0 then give[of] = 0 end
    end
    reply.give = give
    reply.free = {}
  end
  local write = {}
  for i, limit in ipairs(limits) do
    if reply.free then reply.free[i] = levels[i] end
    for _, part in ipairs({ 'level' .. i, exact(levels[i] - give[limit.of + 1]), 'at' .. i, exact(times[i]) }) do
      write[#write + 1] = part
    end
  end
  redis.call('HSET', levels_key, unpack(write))
  redis.call('EXPIRE', levels_key, math.ceil(math.min(longest, 31536000)))
end

local function places(held_key, until_key, asked, reply)
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', until_key, '-inf', exact(now))) do
    redis.call('HDEL', held_key, gone)
  end
  redis.call('ZREMRANGEBYSCORE', until_key, '-inf', exact(now))
  local all = redis.call('HGETALL', held_key)
  local others, short, users = 0, false, 0
  for i = 1, #all, 2 do
    if all[i] ~= me then
      local held, wish = string.match(all[i + 1], '^(%d+) (%d+)$')
      held, wish = tonumber(held), tonumber(wish)
      others = others + held
      users = users + 1
      if wish > held then short = true end
    end
  end
  local fair = math.max(1, math.floor(asked.max / (users + 1)))
  local most = asked.wish
  if short then most = math.min(most, math.max(fair, asked.keep)) end
  local held = math.max(asked.keep, math.min(most, asked.max - others))
  if held > 0 or asked.wish > 0 then
    redis.call('HSET', held_key, me, string.format('%d %d', held, asked.wish))
    redis.call('ZADD', until_key, exact(now + HELD), me)
    redis.call('EXPIRE', held_key, 60)
    redis.call('EXPIRE', until_key, 60)
  else
    redis.call('HDEL', held_key, me)
    redis.call('ZREM', until_key, me)
  end
  reply.places = held
  if short then reply.fair = fair end
end

local replies = {}
for i = 2, #ARGV do
  local question, reply, key = cjson.decode(ARGV[i]), {}, (i - 2) * 4
  if #question.limits > 0 then permits(KEYS[key + 1], KEYS[key + 2], question, reply) end
  if type(question.places) == 'table' then places(KEYS[key + 3], KEYS[key + 4], question.places, reply) end
  replies[i - 1] = cjson.encode(reply)
end
return replies
