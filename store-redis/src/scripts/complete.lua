-- KEYS: records in progress. ARGV, three each: how the record begins if it is still in progress under
-- this lock, the completed record, how long to keep it in ms. Answers 1 where it was completed, and
-- false where it is to be looked at more closely. One key's trouble is not its neighbours'.
local done = {}
for i = 1, #KEYS do
  local start = ARGV[3 * i - 2]
  local begins = redis.pcall('GETRANGE', KEYS[i], 0, 28)
  if begins == start then
    local set = redis.pcall('SET', KEYS[i], ARGV[3 * i - 1], 'PX', ARGV[3 * i])
    if set.err then done[i] = set else done[i] = 1 end
  elseif type(begins) == 'table' then
    done[i] = begins
  else
    done[i] = 0
  end
end
return done
