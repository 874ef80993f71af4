/** Who was handed a user has won already; but not when it has tried to give the user back and heard no answer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BUCKET_LEASES } from '#shared/subjects.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { RevisionConflict } from '../../../services/mail/kv/account-record.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { LeaseLog } from '../../../services/mail/kv/lease-log.ts'
import { NOTHING_KNOWN, returnLease, winLease } from '../../../services/mail/owner/lease.ts'
import { startProxy } from '../../support/proxy.ts'
import { kvBox, log } from '../kv/support.ts'
import { aside } from './member.ts'

const [A, C] = [
  { sid: 'sid-a', name: 'a' },
  { sid: 'sid-c', name: 'c' },
]

test('a return that was never answered may still arrive: the user is not owned under the lease that it gives away', async () => {
  await using box = await kvBox()
  await using proxy = await startProxy(box.server.port)
  const [others, stop] = [await aside(box), new AbortController()]
  const bucket = await Bucket.open(await box.connect('mailsync', proxy.port), BUCKET_LEASES)
  const leases = new LeaseLog(() => bucket, systemClock, log)
  const handed = { v: 1, kind: 'lease', owner: C.sid, name: C.name, from: A.sid } as const
  const rev = await others.writeLease('ada', handed, null)
  await using stack = new AsyncDisposableStack()
  const watching = leases.run(stop.signal)
  stack.defer(() => {
    stop.abort()
    return watching
  })
  await leases.replica.whenFresh(stop.signal)
  const epoch = { era: leases.era, rev }
  assert.deepEqual(await winLease('ada', C, leases), epoch, 'whoever is handed a user writes nothing')
  proxy.hold('toServer')
  await assert.rejects(returnLease('ada', epoch, { ...NOTHING_KNOWN, to: A, from: C.sid }, leases), /timeout/i)
  const winning = winLease('ada', C, leases)
  proxy.release()
  await assert.rejects(winning, RevisionConflict, 'the return has arrived first')
  assert.equal((await others.readLease('ada'))?.record.owner, A.sid)
})
