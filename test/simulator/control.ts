/** Owns `/__sim/*`: the JSON face of the simulator for other processes. Refuses to be anything but a translation. */
import type { Answer, MailboxSpec, Mutation, ProviderName, Rule, SimRequest } from './types.ts'
import type { World } from './world.ts'

/** `reset` replaces the world; everything else acts on the present one. */
export function answerControl(world: World, request: SimRequest, reset: () => void): Answer {
  try {
    return { status: 200, body: act(world, request, reset) }
  } catch (error) {
    return { status: 400, body: { error: error instanceof Error ? error.message : String(error) } }
  }
}

function act(world: World, request: SimRequest, reset: () => void): object {
  const { method, url } = request
  const query = url.searchParams
  const user = query.get('user') ?? ''
  const provider = (query.get('provider') ?? 'google') as ProviderName
  const body: unknown = request.body ? JSON.parse(request.body) : {}
  switch (`${method} ${url.pathname.slice('/__sim/'.length)}`) {
    case 'POST mailboxes':
      return world.addMailbox(body as MailboxSpec)
    case 'GET credentials':
      return world.credentials(user, provider)
    case 'POST mutate':
      return { id: world.mutate(body as Mutation) }
    case 'POST faults':
      for (const rule of Array.isArray(body) ? body : [body]) world.faults.add(rule as Rule)
      return {}
    case 'DELETE faults':
      world.faults.clear()
      return {}
    case 'POST clock':
      world.clock.advance(Number((body as { advanceMs?: number }).advanceMs ?? 0))
      return { now: world.clock.now() }
    case 'GET log':
      return world.log
    case 'GET ledger':
      return world.ledger.snapshot()
    case 'GET truth':
      return world.truth(user, provider)
    case 'POST reset':
      reset()
      return {}
    default:
      throw new Error(`simulator: no control ${method} ${url.pathname}`)
  }
}
