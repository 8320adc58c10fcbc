-- Appends messages, sets the state and records the outcome of a key: all of it, or nothing.
--
-- KEYS: head, log, state, outcomes of keys, order of keys
-- ARGV:  3 where the channel must stand, or ''
--        4 most messages  5 most bytes  6 longest age in milliseconds, or ''
--        7 'n' no state, '=' the last message's data, 's' the 8th
--        9 the key  10 its fingerprint, or '' if there is no key  11 its window in milliseconds  12 most keys  13 most bytes of keys
--       14 what an outcome weighs besides its key and state
--       15 PUBLISH or SPUBLISH  16 where to  17 this node  18 what this append is called in a chain, or ''
--       19 what the append of this node must be called that was the last here, or ''
--       then of each message: what it weighs, how its header and its data are written

open()
expire()

local key, keyed = ARGV[9], ARGV[10] ~= ''
if keyed then
  local outcome = redis.call('HGET', KEYS[4], key)
  if outcome and tonumber(string.match(outcome, '^%d+ (%d+)')) > now then
    return { 'used', outcome }
  end
end
if ARGV[3] ~= '' and locate(ARGV[3]) ~= head then
  return { 'conflict', epoch, number(head) }
end
if ARGV[19] ~= '' and redis.call('HGET', KEYS[1], 'w') ~= ARGV[17] .. ':' .. ARGV[19] then
  return { 'conflict', epoch, number(head) }
end

local first = head + 1
if trimmed == head then oldest = now end
local parts = {}
for i = 20, #ARGV, 3 do
  local weight, header, data = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  head = head + 1
  bytes = bytes + tonumber(weight)
  redis.call('XADD', KEYS[2], head, 't', ARGV[2], 'w', weight, 'f', header, 'd', data)
  parts[#parts + 1] = #header .. ',' .. #data .. ':'
  parts[#parts + 1] = header
  parts[#parts + 1] = data
end

local state
if ARGV[7] == '=' then state = ARGV[#ARGV] elseif ARGV[7] == 's' then state = ARGV[8] end
if state then
  redis.call('SET', KEYS[3], state)
  stated = head
end
if ARGV[6] ~= (age and number(age) or '') then
  age = tonumber(ARGV[6])
  if age then redis.call('HSET', KEYS[1], 'x', ARGV[6]) else redis.call('HDEL', KEYS[1], 'x') end
end
trim(tonumber(ARGV[4]), tonumber(ARGV[5]), age, math.huge)
redis.call('HSET', KEYS[1], 'h', head, 't', trimmed, 'b', bytes, 's', stated or '', 'o', oldest or '', 'w',
  ARGV[17] .. ':' .. ARGV[18])
-- What has been written is not forgotten.
if first == 1 then redis.call('PERSIST', KEYS[1]) end

local dropped = 0
if keyed then
  local m = redis.call('HMGET', KEYS[1], 'kh', 'kt', 'kb')
  local kh, kt, kb = tonumber(m[1] or 0), tonumber(m[2] or 0), tonumber(m[3] or 0)
  local weight = tonumber(ARGV[14]) + #key + (state and #state or 0)
  kh, kb = kh + 1, kb + weight
  local begins = number(kh) .. ' ' .. number(now + tonumber(ARGV[11]))
  -- One that is over may be there under the same key: when its turn in the order comes, it has another number.
  redis.call('HSET', KEYS[4], key, begins .. ' ' .. epoch .. '.' .. number(head) .. ' ' .. ARGV[10] .. ' ' ..
    (state and '=' .. state or '-'))
  redis.call('RPUSH', KEYS[5], begins .. ' ' .. number(weight) .. ' ' .. key)
  while kt < kh do
    local oldest = redis.call('LINDEX', KEYS[5], 0)
    if not oldest then
      kt, kb = kh, 0
      break
    end
    local n, expires, heavy, name = string.match(oldest, '^(%d+) (%d+) (%d+) (.*)$')
    local count = kh - kt
    local over = count > 1 and (count > tonumber(ARGV[12]) or kb > tonumber(ARGV[13]))
    if tonumber(expires) > now then
      if not over then break end
      dropped = dropped + 1
    end
    redis.call('LPOP', KEYS[5])
    kt, kb = kt + 1, kb - tonumber(heavy)
    local kept = redis.call('HGET', KEYS[4], name)
    if kept and string.match(kept, '^%d+') == n then redis.call('HDEL', KEYS[4], name) end
  end
  redis.call('HSET', KEYS[1], 'kh', kh, 'kt', kt, 'kb', kb)
end

local said = table.concat({ epoch, number(first), number(head - first + 1), number(trimmed), ARGV[2], ARGV[17],
  ARGV[7] == 's' and #state or ARGV[7] }, ' ')
redis.call(ARGV[15], ARGV[16], said .. '\n' .. table.concat(parts) .. (ARGV[7] == 's' and state or ''))
return { 'ok', epoch, number(head), number(trimmed), number(dropped) }
