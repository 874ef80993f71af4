/**
 * What the thread that answers requests and the one that works tell each other. All of it is plain data: it is copied on
 * its way.
 */
import type { StatusReply } from '#shared/contract.ts'
import type { ErrorCode, ErrorDetails } from '#shared/errors.ts'
import type { Handlers, ServiceOptions } from './service.ts'

/** `isOwn`: this instance owns the user, so that it knows every change. */
export type StatusSeen = { reply: StatusReply; isOwn: boolean }

/** What only the thread that works can answer. */
export type Calls = Omit<Handlers, 'status'> & {
  status(userId: string): Promise<StatusSeen>
  /** Flat metrics for `$SRV.STATS`. */
  metrics(): Promise<Record<string, number>>
}
export type CallName = keyof Calls

/** Secrets are revealed: a copy of one would be empty. */
export type PlainLogin = {
  url: string
  user: string | undefined
  password: string | undefined
  creds: Uint8Array | undefined
  seed: string | undefined
  tls: { ca?: string; cert?: string; key?: string } | undefined
}

export type StartOptions = Pick<
  ServiceOptions,
  'version' | 'instance' | 'address' | 'metadata' | 'trusted' | 'limits'
> & {
  jwt: { jwksUrl: string; issuer: string; audience: string }
}
/** Of the connection of the thread. */
export type ConnectOptions = { nats: PlainLogin; instance: string; logLevel: string }

/** `exitCode`: what the process ends with, when only an operator can help. */
export type ThreadFault = { message: string; exitCode: number | null }

export type ToThread =
  /** Before `start`: the connection is there when what the answers need is. */
  | { kind: 'connect'; options: ConnectOptions }
  | { kind: 'start'; options: StartOptions }
  | { kind: 'result'; id: number; value: unknown }
  | { kind: 'fault'; id: number; code: ErrorCode; details: ErrorDetails }
  | { kind: 'stop' }

export type FromThread =
  | { kind: 'call'; id: number; name: CallName; args: unknown[] }
  /** Requests are answered from here on. */
  | { kind: 'answers' }
  /** By itself, or because it was told to. */
  | { kind: 'stopped'; fault: ThreadFault | null }
