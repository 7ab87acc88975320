-- Store a delta on the live log of one claim and announce it, in one atomic step.
--
-- KEYS[1]  the live log of the claim, a stream: entry ids are <attempt>-<end offset>;
--          one field each: "open", "d" (deltas), "fence"
-- ARGV[1]  the channel that the message's followers subscribe to
-- ARGV[2]  attempt        the writer's, in every id of its log
-- ARGV[3]  start          the offset that the payload begins at
-- ARGV[4]  end            the offset behind the payload
-- ARGV[5]  payload        JSON, as written by livelog.py; it begins with the claim
-- ARGV[6]  trim           entries that end before this offset are safe in Postgres
-- ARGV[7]  ttl            milliseconds until a log that begins here goes by itself
-- ARGV[8]  "1"            write even if something before start is missing (see "missing")
--
-- Returns "written"  stored and announced
--         "landed"   this claim stored it before: an answer had been lost on the way
--         "missing"  nothing written: the log does not reach start, Redis lost something
--         "fenced"   nothing written: a sweep has taken the message
--
-- A log whose newest entry is neither ours nor a fence is as good as lost: it is "missing", and a
-- writer who then says that it still owns the message begins the log anew.

-- What every payload of the claim begins with: livelog.py's HEAD characters.
local HEAD = 39

local attempt, start, finish = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local found = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local top = found[1]
local top_end = -1
local foreign = found.err ~= nil
if top then
  local name, value = top[2][1], top[2][2]
  if name == 'fence' then return 'fenced' end
  local a, e = string.match(top[1], '^(%d+)%-(%d+)$')
  if tonumber(a) == attempt and (name == 'open'
      or name == 'd' and string.sub(value, 1, HEAD) == string.sub(ARGV[5], 1, HEAD)) then
    top_end = tonumber(e)
  else
    foreign = true
  end
end
if top_end >= finish then return 'landed' end
if top_end < start and ARGV[8] ~= '1' then return 'missing' end
if foreign then redis.call('DEL', KEYS[1]) end
redis.call('XADD', KEYS[1], 'MINID', ARGV[2] .. '-' .. ARGV[6], ARGV[2] .. '-' .. ARGV[4], 'd', ARGV[5])
if top_end <= 0 then redis.call('PEXPIRE', KEYS[1], ARGV[7]) end
redis.call('PUBLISH', ARGV[1], ARGV[5])
return 'written'
