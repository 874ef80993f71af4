/** Runs that failed once, cut down to what they needed. */
import type { Plot } from './plot.ts'

export const FOUND: readonly { what: string; seed: number; plot: Plot }[] = [
  {
    what: 'mail was lost that only the disk of another owner knew',
    seed: 107,
    plot: {
      processes: ['a', 'b'],
      users: [{ user: 'ada', mails: 2 }],
      acts: [
        { atMs: 2578, do: 'deliver', user: 'ada', mails: 3 },
        { atMs: 3251, do: 'term', name: 'a', backMs: 2885 },
        { atMs: 6212, do: 'fall', lostMs: { events: 3262, leases: 1779, state: 303, snapshots: 3250 }, downMs: 2973 },
      ],
    },
  },
  {
    what: 'mail was published twice where a sequence was by chance the right one',
    seed: 586,
    plot: {
      processes: ['a', 'b'],
      users: [{ user: 'ada', mails: 5 }],
      acts: [
        { atMs: 235, do: 'crash', name: 'c', effects: 113, wipe: false, backMs: 897 },
        { atMs: 494, do: 'deliver', user: 'ada', mails: 1 },
        { atMs: 5530, do: 'deliver', user: 'ada', mails: 2 },
        { atMs: 7712, do: 'deliver', user: 'ada', mails: 3 },
        { atMs: 8133, do: 'deliver', user: 'ada', mails: 4 },
        { atMs: 8746, do: 'expire', user: 'ada' },
        { atMs: 10855, do: 'deliver', user: 'ada', mails: 1 },
        { atMs: 10922, do: 'fall', lostMs: { events: 3918, leases: 2176, state: 1372, snapshots: 2688 }, downMs: 2808 },
        { atMs: 13740, do: 'loss', name: 'a', part: 0.17162436374928802, ms: 2148 },
        { atMs: 13792, do: 'deliver', user: 'ada', mails: 2 },
        { atMs: 14900, do: 'term', name: 'a', backMs: 2464 },
      ],
    },
  },
  {
    what: 'a first checkpoint replaced that of a later term, between two reads of what stands there',
    seed: 1796,
    plot: {
      processes: ['a', 'b'],
      users: [
        { user: 'ada', mails: 1 },
        { user: 'bob', mails: 2 },
      ],
      acts: [{ atMs: 396, do: 'twin', name: 'b', pausedMs: 2664, overlapMs: 2112 }],
    },
  },
  {
    what: 'a checkpoint of a past era replaced a later one whose revision was by chance the same',
    seed: 4886,
    plot: {
      processes: ['a', 'b', 'c'],
      users: [{ user: 'ada', mails: 10 }],
      acts: [
        { atMs: 158, do: 'loss', name: 'a', part: 0.039816959761083126, ms: 4773 },
        { atMs: 1022, do: 'fall', lostMs: { events: 4837, leases: 1144, state: 3645, snapshots: 3846 }, downMs: 988 },
      ],
    },
  },
  {
    what: 'mail was published twice: the last event stood by chance where an older disk knew it, behind one that it did not know',
    seed: 22_741,
    plot: {
      processes: ['a', 'b', 'c'],
      users: [
        { user: 'ada', mails: 4 },
        { user: 'bob', mails: 5 },
      ],
      acts: [
        { atMs: 570, do: 'freeze', name: 'c', ms: 2235 },
        { atMs: 4828, do: 'fall', lostMs: { events: 5611, leases: 5611, state: 5611, snapshots: 5611 }, downMs: 2256 },
        { atMs: 5347, do: 'deliver', user: 'ada', mails: 1 },
        { atMs: 6872, do: 'link', name: 'c', state: 'cut', ms: 9959 },
        { atMs: 7176, do: 'link', name: 'b', state: 'deaf', ms: 6195 },
        { atMs: 9159, do: 'twin', name: 'c', pausedMs: 1285, overlapMs: 1019 },
      ],
    },
  },
]
