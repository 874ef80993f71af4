/** AsyncAPI 3 of what runs over NATS, derived from the contract and the event's schema. Nothing is stated twice. */
import { toJsonSchema } from '@valibot/to-json-schema'
import { CONTRACT, type Operation } from '#shared/contract.ts'
import { ERASE } from '#shared/erase.ts'
import { EmailReceived } from '#shared/event.ts'
import { FLEET_DESCRIPTION, FLEET_EXAMPLE, FleetReply } from '#shared/fleet.ts'
import { INSPECT, type Inspection } from '#shared/inspect.ts'
import { REKEY_DESCRIPTION, REKEY_EXAMPLE, RekeyReply, RekeyRequest } from '#shared/rekey.ts'
import {
  EVENT_STREAM,
  EVENT_TYPE,
  FLEET_SUBJECT,
  GROUP,
  HEADER_AUTHORIZATION,
  HEADER_ERROR,
  HEADER_ERROR_CODE,
  HEADER_REQUEST_ID,
  INSPECTIONS,
  OPERATIONS,
  QUEUE,
  REKEY_SUBJECT,
} from '#shared/subjects.ts'

const USER_IN_SUBJECT = 'user id; bytes outside A-Z a-z 0-9 _ - are written =XX'

type Json = Record<string, unknown>
const draft07 = (schema: Operation['request'], typeMode: 'input' | 'output'): Json => {
  const { $schema: _, ...rest } = toJsonSchema(schema, { target: 'draft-07', typeMode })
  return rest
}
const textHeaders = (descriptions: Record<string, string>): Json => ({
  type: 'object',
  properties: Object.fromEntries(
    Object.entries(descriptions).map(([name, description]) => [name, { type: 'string', description }]),
  ),
})

function requestChannel(operation: Operation): Json {
  return {
    address: operation.subject,
    description: `${operation.description} Errors: ${operation.errors.join(', ')}.`,
    messages: {
      request: {
        headers: textHeaders({
          [HEADER_AUTHORIZATION]: 'Bearer and the JWT of the user',
          [HEADER_REQUEST_ID]: 'id of the request in logs and errors',
        }),
        payload: draft07(operation.request, 'input'),
        examples: [{ payload: operation.example.request }],
      },
    },
  }
}

function replyChannel(operation: Operation | Inspection | typeof ERASE): Json {
  return {
    address: null,
    messages: {
      reply: {
        headers: textHeaders({
          [HEADER_ERROR_CODE]: 'set when the reply is an error: its HTTP status',
          [HEADER_ERROR]: 'text of the error',
        }),
        payload: draft07(operation.reply, 'output'),
        examples: [{ payload: operation.example.reply }],
      },
    },
  }
}

/** The user stands in the subject: NATS permissions decide who may ask. */
const inspectChannel = ({ name, description, errors, request, example }: Inspection | typeof ERASE): Json => ({
  address: `${GROUP}.as.{user}.${name}`,
  description: `${description} Errors: ${errors.join(', ')}.`,
  parameters: { user: { description: USER_IN_SUBJECT } },
  messages: { request: { payload: draft07(request, 'input'), examples: [{ payload: example.request }] } },
})

/** Nothing is asked with: no user, no token, no payload. The replies come without a queue group, one of each instance. */
const fleetChannels = {
  fleet: {
    address: FLEET_SUBJECT,
    description: FLEET_DESCRIPTION,
    messages: { request: { payload: {} } },
  },
  fleetReply: {
    address: null,
    messages: { reply: { payload: draft07(FleetReply, 'output'), examples: [{ payload: FLEET_EXAMPLE }] } },
  },
}

/** Answered by every instance as well; for operators and trusted services. */
const rekeyChannels = {
  rekey: {
    address: REKEY_SUBJECT,
    description: REKEY_DESCRIPTION,
    messages: { request: { payload: draft07(RekeyRequest, 'input'), examples: [{ payload: REKEY_EXAMPLE.request }] } },
  },
  rekeyReply: {
    address: null,
    messages: { reply: { payload: draft07(RekeyReply, 'output'), examples: [{ payload: REKEY_EXAMPLE.reply }] } },
  },
}

/** The document that `mailctl contract` prints. */
export function asyncApi(version: string): Json {
  const operations = OPERATIONS.map((name) => CONTRACT[name])
  const inspections = INSPECTIONS.map((name) => INSPECT[name])
  const asked = [...inspections, ERASE]
  const both = [...operations, ...asked]
  const event = {
    address: `user.{user}.${EVENT_TYPE}`,
    description: `Each mail of a user exactly once, in the order in which it was stored; stream ${EVENT_STREAM}.`,
    parameters: { user: { description: USER_IN_SUBJECT } },
    messages: {
      event: {
        headers: textHeaders({ 'Nats-Msg-Id': 'event_id' }),
        payload: draft07(EmailReceived, 'output'),
      },
    },
  }
  return {
    asyncapi: '3.0.0',
    info: { title: 'mail-sync', version, license: { name: 'Apache-2.0' } },
    defaultContentType: 'application/json',
    channels: {
      ...Object.fromEntries(operations.map((operation) => [operation.name, requestChannel(operation)])),
      ...Object.fromEntries(asked.map((one) => [one.name, inspectChannel(one)])),
      ...Object.fromEntries(both.map((operation) => [`${operation.name}Reply`, replyChannel(operation)])),
      ...fleetChannels,
      ...rekeyChannels,
      emailReceived: event,
    },
    operations: {
      ...Object.fromEntries(
        both.map(({ name }) => [
          name,
          {
            action: 'receive',
            channel: { $ref: `#/channels/${name}` },
            bindings: { nats: { queue: QUEUE } },
            reply: { channel: { $ref: `#/channels/${name}Reply` } },
          },
        ]),
      ),
      fleet: {
        action: 'receive',
        channel: { $ref: '#/channels/fleet' },
        reply: { channel: { $ref: '#/channels/fleetReply' } },
      },
      rekey: {
        action: 'receive',
        channel: { $ref: '#/channels/rekey' },
        reply: { channel: { $ref: '#/channels/rekeyReply' } },
      },
      publishEmail: { action: 'send', channel: { $ref: '#/channels/emailReceived' } },
    },
  }
}
