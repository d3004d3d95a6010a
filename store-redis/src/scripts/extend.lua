-- ARGV: the lock, the lease in µs, the padding in ms.
if not is_lock(ARGV[1]) or state ~= P then return 0 end
local until_us = now + tonumber(ARGV[2])
local record = sub(r, 1, 29) .. string.char(with(flags, CONFIRMED, true)) .. sub(r, 31, 76)
  .. struct.pack('>I8', until_us) .. sub(r, 85)
keep(record, remembered_from(until_us, num(93)), tonumber(ARGV[3]))
return 1
