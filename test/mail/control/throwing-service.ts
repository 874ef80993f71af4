/**
 * A micro service with one endpoint whose operation fails later: run by service.test.ts as a process of its own.
 * `bare` registers the handler as it is; `answered` lets control/endpoint.ts answer.
 */
import { Svcm } from '@nats-io/services'
import { CONTRACT } from '#shared/contract.ts'
import { createLog } from '#shared/log.ts'
import { connectNats, type Msg } from '#shared/nats.ts'
import { answer, EndpointStats, type Request } from '../../../services/mail/control/endpoint.ts'

const [url = '', how] = process.argv.slice(2)
const log = createLog('test', 'silent')
const nc = await connectNats({ url, name: 'test', inboxPrefix: '_INBOX' }, log, AbortSignal.timeout(10_000))
const fail = async (): Promise<never> => {
  await nc.flush()
  throw new Error('this operation fails later')
}
const spec = { operation: CONTRACT.status, by: 'user' as const, authorise: async () => 'ada', handle: fail }
const service = await new Svcm(nc).add({ name: 'throwing', version: '1.0.0' })
service.addEndpoint('fails', {
  handler: (_error, msg: Msg) => (how === 'bare' ? fail() : answer(msg as Request, spec, new EndpointStats(), log)),
})
await nc.flush()
process.stdout.write('ready\n')
