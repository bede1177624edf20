-- Whether all commands are there that a job needs, and allowed. Gives what is wrong, or nothing.
-- KEYS: of nothing else. ARGV: nothing.
local function try(...)
  local reply = redis.pcall(...)
  return type(reply) == 'table' and reply.err
end
local key = KEYS[1]
local commands = {
  { 'XGROUP', 'CREATE', key, 'g', '0', 'MKSTREAM' },
  { 'XADD', key, '1-1', 'a', 'b' },
  { 'XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', 1, 'STREAMS', key, '>' },
  { 'XPENDING', key, 'g', '(0-1', '+', 1, 'c' },
  { 'XAUTOCLAIM', key, 'g', 'd', 0, '0-0', 'COUNT', 1 },
  { 'XCLAIM', key, 'g', 'c', 0, '1-1', 'IDLE', 1, 'JUSTID' },
  { 'XRANGE', key, '(0-1', '+', 'COUNT', 1 },
  { 'XACK', key, 'g', '1-1' },
  { 'XDEL', key, '1-1' },
  { 'XGROUP', 'DELCONSUMER', key, 'g', 'c' },
  { 'DEL', key },
  { 'HSET', key, 'a', '1' },
  { 'HINCRBY', key, 'a', 1 },
  { 'HMGET', key, 'a' },
  { 'HEXISTS', key, 'a' },
  { 'PEXPIRE', key, 1000 },
  { 'EXISTS', key },
  { 'HDEL', key, 'a' },
  { 'ZADD', key, 1, 'a' },
  { 'ZREMRANGEBYSCORE', key, 0, 2 },
  { 'ZCARD', key },
  { 'ZREM', key, 'a' },
  { 'TIME' },
}
local wrong = ''
for _, command in ipairs(commands) do
  local err = try(unpack(command))
  if err then
    wrong = command[1] .. ': ' .. err
    break
  end
end
redis.pcall('DEL', key)
return wrong
