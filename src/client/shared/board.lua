-- Circuits: enters which have opened or closed, and says which are open. KEYS: one for each provider. ARGV: the process, the work as JSON.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local work = cjson.decode(ARGV[2])
local MOST = 2000
local reply = {}
for i, provider in ipairs(work.providers) do
  local key, open = KEYS[i], {}
  for _, news in ipairs(provider.news) do
    if news.opened then
      if redis.call('HLEN', key) < MOST then
        redis.call('HSET', key, news.name, string.format('%.17g', now + work.recovery))
      end
    else
      redis.call('HDEL', key, news.name)
    end
  end
  if #provider.news > 0 then redis.call('EXPIRE', key, math.ceil(work.recovery * 10 + 60)) end
  local all = redis.call('HGETALL', key)
  for at = 1, #all, 2 do
    open[#open + 1] = { name = all[at], left = math.max(0, tonumber(all[at + 1]) - now) }
  end
  if #open > 0 then reply[#reply + 1] = { provider = i - 1, open = open } end
end
if #reply == 0 then return '[]' end
return cjson.encode(reply)
