-- ARGV: the lock, why there is no value or 0, the value, the retention in µs, the padding in ms.
if not is_lock(ARGV[1]) then return 0 end
-- The answer was lost. The retention is not started again.
if state == C then return 1 end
if state ~= P then return 0 end
local until_us = now + tonumber(ARGV[4])
local record = 'idr\1C' .. sub(r, 6, 29) .. string.char(with(0, NOTES, has(NOTES)), byte(r, 31) + 16 * tonumber(ARGV[2]))
  .. sub(r, 32, 76)
  .. struct.pack('>I8I8', now, until_us) .. notes() .. ARGV[3]
keep(record, until_us, tonumber(ARGV[5]))
return 1
