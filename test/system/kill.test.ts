/** Accepted when: kill -9 at twenty random moments of a backfill, restarted, loses nothing, doubles nothing. */
import { test } from 'node:test'
import { killDuringBackfill } from '../mail/acceptance/kills.ts'

test('an instance killed twenty times during a backfill loses nothing, doubles nothing and repeats a page at most', () =>
  killDuringBackfill(20, 2_000))
