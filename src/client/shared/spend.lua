-- Budgets: enters what was spent, says what is spoken for, and speaks for more where limits allow. KEYS, three for each scope: sums, what
-- each process has spoken for, until when that holds; and the last message of this process that was entered. ARGV: the process, its work as JSON.
-- Amounts of money are whole picodollars, as texts: sums of them are exact. The calendar is by the server's clock.
local now = tonumber(redis.call('TIME')[1])
local me, work = ARGV[1], cjson.decode(ARGV[2])
-- Seconds after which what a process has spoken for that is not heard of any more counts as spent; and for which anything is kept.
local HELD, KEPT, MESSAGES = 60, 3456000, 86400
local MOST, MOST_TEXT = 9e18, '9000000000000000000'

local function number_of(window)
  if window == 'hour' then return math.floor(now / 3600) end
  local days = math.floor(now / 86400)
  if window == 'day' then return days end
  local shifted = days + 719468
  local era, of_era = math.floor(shifted / 146097), shifted % 146097
  local year = math.floor(
    (of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365
  )
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  return (era * 400 + year) * 12 + math.floor((5 * of_year + 2) / 153) + 2 - 1970 * 12
end

local function whole(number)
  return string.format('%.0f', number)
end

local function enter(key, field, amount)
  local sum = tonumber(redis.call('HGET', key, field) or '0')
  if sum + tonumber(amount) > MOST then
    redis.call('HSET', key, field, MOST_TEXT)
  else
    redis.call('HINCRBY', key, field, amount)
  end
end

local function parts(held)
  return string.match(held or '0 0', '^(%d+) (%d+)$')
end

local message = KEYS[#KEYS]
local is_new = tonumber(redis.call('GET', message) or '0') < work.message
redis.call('SET', message, whole(work.message), 'EX', MESSAGES)

local scopes, reply = {}, { scopes = {}, asks = {} }
for i, scope in ipairs(work.scopes) do
  local sums, held, until_key = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local number = number_of(work.window)
  local stored = tonumber(redis.call('HGET', sums, 'number') or '-1')
  if stored < number then
    redis.call('HSET', sums, 'number', whole(number), 'usd', '0', 'tokens', '0')
  else
    number = stored
  end
  local before = redis.call('HMGET', sums, 'usd', 'tokens')
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', until_key, '-inf', now)) do
    if gone ~= me then
      local usd, tokens = parts(redis.call('HGET', held, gone) or nil)
      enter(sums, 'usd', usd)
      enter(sums, 'tokens', tokens)
      redis.call('HDEL', held, gone)
      redis.call('ZREM', until_key, gone)
    end
  end
  if is_new then
    enter(sums, 'usd', scope.usd)
    enter(sums, 'tokens', scope.tokens)
  end
  local others = { usd = 0, tokens = 0 }
  local all = redis.call('HGETALL', held)
  for at = 1, #all, 2 do
    if all[at] ~= me then
      local usd, tokens = parts(all[at + 1])
      others.usd, others.tokens = others.usd + tonumber(usd), others.tokens + tonumber(tokens)
    end
  end
  local after = redis.call('HMGET', sums, 'usd', 'tokens')
  scopes[i] = {
    spent = { usd = tonumber(after[1]), tokens = tonumber(after[2]) },
    others = others,
    mine = { usd = tonumber(scope.held.usd), tokens = tonumber(scope.held.tokens) },
  }
  reply.scopes[i] = {
    number = number,
    before = { usd = before[1], tokens = before[2] },
    spent = { usd = after[1], tokens = after[2] },
    others = { usd = whole(others.usd), tokens = whole(others.tokens) },
  }
end

for i, ask in ipairs(work.asks) do
  local fits = true
  for at, of in ipairs(ask.of) do
    local scope, limit = scopes[of], ask.limits[at]
    for _, unit in ipairs({ 'usd', 'tokens' }) do
      local most = tonumber(limit[unit] ~= cjson.null and limit[unit] or nil)
      if ask.blocks and most then
        local all = scope.spent[unit] + scope.others[unit] + scope.mine[unit] + tonumber(ask[unit])
        if all > most then fits = false end
      end
    end
  end
  if fits then
    for _, of in ipairs(ask.of) do
      for _, unit in ipairs({ 'usd', 'tokens' }) do
        scopes[of].mine[unit] = scopes[of].mine[unit] + tonumber(ask[unit])
      end
    end
  end
  reply.asks[i] = fits
end

for i, scope in ipairs(scopes) do
  local sums, held, until_key = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  if scope.mine.usd > 0 or scope.mine.tokens > 0 then
    redis.call('HSET', held, me, whole(scope.mine.usd) .. ' ' .. whole(scope.mine.tokens))
    redis.call('ZADD', until_key, now + HELD, me)
  else
    redis.call('HDEL', held, me)
    redis.call('ZREM', until_key, me)
  end
  for _, key in ipairs({ sums, held, until_key }) do
    redis.call('EXPIRE', key, KEPT)
  end
end
return cjson.encode(reply)
