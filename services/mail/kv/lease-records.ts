/** Records of `mail_leases`: sessions of instances, leases on users, and the era. One bucket, hence one total order. */
import * as v from 'valibot'

/** `s.<sid>`: one life of one instance. */
export const SessionRecord = v.object({
  v: v.literal(1),
  kind: v.literal('session'),
  /** Stable name of the instance. */
  name: v.string(),
  /** Where the others ask this process: `mail.at.<address>.status`. Constant for the life of the process. */
  address: v.string(),
  /** Id of the data directory, so that a restarted instance may declare its own old session dead. */
  directory: v.string(),
  state: v.picklist(['live', 'draining', 'dead']),
  /** Why it can keep no users now: a fault of its disk, or `BLIND`: its watches fail. */
  full: v.optional(v.string()),
  /** Its own T: how long it may be silent. Absent in records of older versions; then that of whoever judges counts. */
  silence_ms: v.optional(v.number()),
  /** Counts heartbeats. */
  n: v.number(),
  /** Who declared it dead. */
  by: v.optional(v.string()),
  /** Program version of the instance. */
  version: v.string(),
})
export type SessionRecord = v.InferOutput<typeof SessionRecord>

/** `u.<user>`: who owns the user; the era and the revision of the record are the epoch. */
export const LeaseRecord = v.object({
  v: v.literal(1),
  kind: v.literal('lease'),
  /** sid of the owner; null = released. */
  owner: v.nullable(v.string()),
  name: v.optional(v.string()),
  /** sid of the owner before, when it has handed the user over to this one. */
  from: v.optional(v.string()),
  /** When it would have polled the user next, epoch ms; absent when that is not known. */
  due_ms: v.optional(v.number()),
  /** Nothing was left to do for the user but polls; revision of the newest account record for which that was so. */
  quiet_at: v.optional(v.number()),
})
export type LeaseRecord = v.InferOutput<typeof LeaseRecord>

/** `era`: the first number of every epoch since the bucket went backwards; before that its creation time counts. */
export const EraRecord = v.object({ v: v.literal(1), kind: v.literal('era'), era: v.number() })
export type EraRecord = v.InferOutput<typeof EraRecord>

export const LeaseLogRecord = v.variant('kind', [SessionRecord, LeaseRecord, EraRecord])
export type LeaseLogRecord = v.InferOutput<typeof LeaseLogRecord>
