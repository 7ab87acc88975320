-- Store a delta on the live log of one message and announce it, in one atomic step.
--
-- KEYS[1]  the live log, a stream: entry ids are <attempt>-<end offset>, field "d" holds deltas
-- ARGV[1]  the channel that the message's followers subscribe to
-- ARGV[2]  attempt        the writer's fencing token
-- ARGV[3]  start          the offset that the payload begins at
-- ARGV[4]  end            the offset behind the payload
-- ARGV[5]  payload        JSON, as written by livelog.py
-- ARGV[6]  trim           entries that end before this offset are safe in Postgres
-- ARGV[7]  ttl            milliseconds until a log that begins here goes by itself
-- ARGV[8]  "1"            write even if something before start is missing (see "missing")
--
-- Returns "written"  stored and announced
--         "landed"   this attempt stored it before: an answer had been lost on the way
--         "missing"  nothing written: the log does not reach start, Redis lost something
--         "fenced"   nothing written: a newer attempt has the message

local attempt, start, finish = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local top_attempt, top_end = -1, -1
if top then
  local a, e = string.match(top[1], '^(%d+)%-(%d+)$')
  top_attempt, top_end = tonumber(a), tonumber(e)
end
if top_attempt > attempt then return 'fenced' end
if top_attempt == attempt and top_end >= finish then return 'landed' end
if (top_attempt < attempt or top_end < start) and ARGV[8] ~= '1' then return 'missing' end
redis.call('XADD', KEYS[1], 'MINID', ARGV[2] .. '-' .. ARGV[6], ARGV[2] .. '-' .. ARGV[4], 'd', ARGV[5])
if top_end <= 0 then redis.call('PEXPIRE', KEYS[1], ARGV[7]) end
redis.call('PUBLISH', ARGV[1], ARGV[5])
return 'written'
