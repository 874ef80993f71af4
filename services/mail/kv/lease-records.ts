/** Records of `mail_leases`: sessions of instances and leases on users. One bucket, hence one total order. */
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
  /** Counts heartbeats. */
  n: v.number(),
  /** Who declared it dead. */
  by: v.optional(v.string()),
  /** Program version of the instance. */
  version: v.string(),
})
export type SessionRecord = v.InferOutput<typeof SessionRecord>

/** `u.<user>`: who owns the user; the revision of the record is the epoch. */
export const LeaseRecord = v.object({
  v: v.literal(1),
  kind: v.literal('lease'),
  /** sid of the owner; null = released. */
  owner: v.nullable(v.string()),
  name: v.optional(v.string()),
})
export type LeaseRecord = v.InferOutput<typeof LeaseRecord>

export const LeaseLogRecord = v.variant('kind', [SessionRecord, LeaseRecord])
export type LeaseLogRecord = v.InferOutput<typeof LeaseLogRecord>
