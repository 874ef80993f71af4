/** Accepted when: kill -9 with the data directory deleted, in the middle of a backfill, twenty times over. */
import { test } from 'node:test'
import { loseDisks } from '../mail/acceptance/lost-disks.ts'

test('an instance killed twenty times with its disk during a backfill: nothing lost, nothing twice, nothing stuck', () =>
  loseDisks(20, 3_000))
