/* SPDX-License-Identifier: MIT */
#include "walkhome.h"

#include <math.h>
#include <string.h>

/* -- bytes ------------------------------------------------------------------------------------ */

static void put_u16(uint8_t **p, uint16_t v) {
  *(*p)++ = (uint8_t)v;
  *(*p)++ = (uint8_t)(v >> 8);
}
static void put_u32(uint8_t **p, uint32_t v) {
  put_u16(p, (uint16_t)v);
  put_u16(p, (uint16_t)(v >> 16));
}
static void put_u64(uint8_t **p, uint64_t v) {
  put_u32(p, (uint32_t)v);
  put_u32(p, (uint32_t)(v >> 32));
}
static void put_f32(uint8_t **p, float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  put_u32(p, bits);
}
static void put_floats(uint8_t **p, const float *v, int n) {
  for (int i = 0; i < n; i++) put_f32(p, v[i]);
}
static uint16_t get_u16(const uint8_t **p) {
  uint16_t v = (uint16_t)((*p)[0] | (*p)[1] << 8);
  *p += 2;
  return v;
}
static uint32_t get_u32(const uint8_t **p) {
  uint32_t low = get_u16(p);
  return low | (uint32_t)get_u16(p) << 16;
}
static uint64_t get_u64(const uint8_t **p) {
  uint64_t low = get_u32(p);
  return low | (uint64_t)get_u32(p) << 32;
}
static float get_f32(const uint8_t **p) {
  uint32_t bits = get_u32(p);
  float v;
  memcpy(&v, &bits, 4);
  return v;
}

/* -- codec ------------------------------------------------------------------------------------ */

uint32_t wh_crc32(const uint8_t *data, size_t size) {
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < size; i++) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
  }
  return ~crc;
}

int wh_payload_size(uint8_t type) {
  switch (type) {
    case WH_HELLO: return 14;
    case WH_HELLO_ACK: return 74;
    case WH_ARM: return 9;
    case WH_DISARM: return 8;
    case WH_CLEAR_FAULT: return 8;
    case WH_ESTOP: return 4;
    case WH_ACK: return 10;
    case WH_COMMAND: return 172;
    case WH_STATE: return 200;
    default: return -1;
  }
}

size_t wh_encode(const wh_frame *frame, uint8_t *out) {
  uint8_t body[WH_MAX_BODY], *p = body;
  *p++ = frame->type;
  *p++ = frame->flags;
  put_u16(&p, frame->seq);
  put_u32(&p, frame->time_us);
  memcpy(p, frame->payload, frame->size);
  p += frame->size;
  put_u32(&p, wh_crc32(body, (size_t)(p - body)));
  /* COBS: each zero is replaced by the distance to the next one. */
  size_t size = (size_t)(p - body), code_at = 0, n = 1;
  uint8_t code = 1;
  for (size_t i = 0; i < size; i++) {
    if (body[i] != 0) {
      out[n++] = body[i];
      code++;
    }
    if (body[i] == 0 || (code == 0xFF && i + 1 < size)) {
      out[code_at] = code;
      code_at = n++;
      code = 1;
    }
  }
  out[code_at] = code;
  out[n++] = 0;
  return n;
}

int wh_decode(const uint8_t *piece, size_t size, wh_frame *frame) {
  uint8_t body[WH_MAX_ENCODED];
  size_t n = 0, i = 0;
  if (size == 0 || size > WH_MAX_ENCODED) return -1;
  while (i < size) {
    uint8_t code = piece[i++];
    if (code == 0 || i + code - 1 > size) return -1;
    for (uint8_t k = 1; k < code; k++) {
      if (piece[i] == 0) return -1;
      body[n++] = piece[i++];
    }
    if (code != 0xFF && i < size) body[n++] = 0;
  }
  if (n < WH_OVERHEAD || n > WH_MAX_BODY) return -1;
  const uint8_t *p = body + n - 4;
  if (get_u32(&p) != wh_crc32(body, n - 4)) return -1;
  p = body;
  frame->type = *p++;
  frame->flags = *p++;
  frame->seq = get_u16(&p);
  frame->time_us = get_u32(&p);
  frame->size = (uint16_t)(n - WH_OVERHEAD);
  if (wh_payload_size(frame->type) != (int)frame->size) return -1;
  memcpy(frame->payload, p, frame->size);
  return 0;
}

/* -- the board -------------------------------------------------------------------------------- */

size_t wh_board_size(void) { return sizeof(wh_board); }

void wh_board_init(wh_board *b, const wh_config *config, uint32_t random) {
  memset(b, 0, sizeof *b);
  b->config = *config;
  b->challenge = random | 1u; /* odd, thus never 0: 0 is never a valid challenge */
}

static void send(wh_board *b, uint8_t type, const uint8_t *payload, uint32_t now_us) {
  wh_frame frame;
  frame.type = type;
  frame.flags = 0;
  frame.seq = b->seq++;
  frame.time_us = now_us;
  frame.size = (uint16_t)wh_payload_size(type);
  memcpy(frame.payload, payload, frame.size);
  if (b->out_size + WH_MAX_ENCODED + 1 > sizeof b->out) return; /* the host does not read: drop the frame */
  b->out_size += wh_encode(&frame, b->out + b->out_size);
}

static void ack(wh_board *b, uint8_t of, uint8_t code, uint32_t nonce, uint32_t now_us) {
  uint8_t payload[10], *p = payload;
  *p++ = of;
  *p++ = code;
  put_u32(&p, nonce);
  put_u32(&p, b->faults);
  send(b, WH_ACK, payload, now_us);
}

/* Damp for damp_ms, then go limp. Only arming again enables torque. */
static void settle(wh_board *b, uint32_t now_us) {
  if (b->mode != WH_OFF) {
    b->mode = WH_DAMP;
    b->damp_us = now_us;
  }
  b->armed = 0;
}

static void cut(wh_board *b) {
  b->mode = WH_OFF;
  b->armed = 0;
}

static void hello(wh_board *b, const wh_frame *frame, uint32_t now_us) {
  const uint8_t *p = frame->payload;
  uint8_t major = *p++, code = WH_OK;
  p++; /* minor: any */
  uint64_t schema = get_u64(&p);
  uint32_t session = get_u32(&p);
  if (major != WH_MAJOR)
    code = WH_WRONG_MAJOR;
  else if (schema != WH_SCHEMA)
    code = WH_WRONG_SCHEMA;
  else if (b->armed && session != b->session)
    code = WH_BUSY;
  else if (!b->has_session || session != b->session) {
    b->session = session;
    b->has_session = 1;
    b->has_seq = 0;
    b->has_challenge = 0;
  }
  const wh_config *c = &b->config;
  uint8_t payload[74], *q = payload;
  *q++ = WH_MAJOR;
  *q++ = WH_MINOR;
  put_u64(&q, WH_SCHEMA);
  put_u32(&q, b->session);
  *q++ = code;
  *q++ = WH_MOTORS;
  memcpy(q, c->robot_id, 16);
  memcpy(q + 16, c->firmware, 16);
  q += 32;
  put_f32(&q, c->angle_limit_rad);
  put_f32(&q, c->kp_limit);
  put_f32(&q, c->kd_limit);
  put_f32(&q, c->torque_limit_nm);
  put_u16(&q, c->valid_limit_ms);
  put_u32(&q, c->zero_table);
  put_u32(&q, c->boot);
  send(b, WH_HELLO_ACK, payload, now_us);
}

static void arm(wh_board *b, uint32_t nonce, uint8_t confirm, uint32_t now_us) {
  if (b->faults) {
    ack(b, WH_ARM, WH_FAULT_LATCHED, nonce, now_us);
  } else if (!confirm) { /* step one: return a challenge, so that no stray frame arms the board */
    b->challenge = b->challenge * 1664525u + 1013904223u + nonce;
    b->challenge |= 1u;
    b->challenge_us = now_us;
    b->has_challenge = 1;
    ack(b, WH_ARM, WH_CHALLENGE, b->challenge, now_us);
  } else if (!b->has_challenge || nonce != b->challenge || now_us - b->challenge_us > 1000000u) {
    b->has_challenge = 0;
    ack(b, WH_ARM, WH_WRONG_NONCE, nonce, now_us);
  } else {
    b->has_challenge = 0;
    b->armed = 1;
    b->mode = WH_OFF;
    /* From now on silence is a time-out, even before the first command. */
    b->command_us = now_us;
    b->valid_us = 1000u * b->config.valid_limit_ms;
    ack(b, WH_ARM, WH_OK, nonce, now_us);
  }
}

static int within(const float *v, float limit) {
  for (int i = 0; i < WH_MOTORS; i++)
    if (!(fabsf(v[i]) <= limit)) return 0; /* written so that NaN fails */
  return 1;
}

static int not_negative(const float *v) {
  for (int i = 0; i < WH_MOTORS; i++)
    if (!(v[i] >= 0.0f)) return 0;
  return 1;
}

static void command(wh_board *b, const wh_frame *frame, uint32_t now_us) {
  const wh_config *c = &b->config;
  const uint8_t *p = frame->payload;
  float numbers[5][WH_MOTORS];
  uint32_t session = get_u32(&p);
  uint8_t mode = *p++;
  p++;
  uint16_t valid_ms = get_u16(&p);
  float cap_nm = get_f32(&p);
  for (int k = 0; k < 5; k++)
    for (int i = 0; i < WH_MOTORS; i++) numbers[k][i] = get_f32(&p);
  int newer = !b->has_seq || (int16_t)(uint16_t)(frame->seq - b->last_seq) > 0;
  int good = b->has_session && session == b->session && newer && b->armed && mode <= WH_POSITION &&
             valid_ms >= 1 && valid_ms <= c->valid_limit_ms && cap_nm >= 0.0f &&
             cap_nm <= c->torque_limit_nm && within(numbers[0], c->angle_limit_rad) &&
             within(numbers[1], c->velocity_limit_rad_s) && within(numbers[2], 1.0f) &&
             within(numbers[3], c->kp_limit) && not_negative(numbers[3]) &&
             within(numbers[4], c->kd_limit) && not_negative(numbers[4]);
  if (!good) {
    b->refused++;
    return;
  }
  b->accepted++;
  b->last_seq = frame->seq;
  b->has_seq = 1;
  b->mode = mode;
  b->command_us = now_us;
  b->valid_us = 1000u * valid_ms;
  b->damp_us = now_us;
  b->torque_cap_nm = cap_nm;
  memcpy(b->angle_rad, numbers[0], sizeof b->angle_rad);
  memcpy(b->velocity_rad_s, numbers[1], sizeof b->velocity_rad_s);
  memcpy(b->feed_forward, numbers[2], sizeof b->feed_forward);
  memcpy(b->kp, numbers[3], sizeof b->kp);
  memcpy(b->kd, numbers[4], sizeof b->kd);
}

static void handle(wh_board *b, const wh_frame *frame, uint32_t now_us) {
  const uint8_t *p = frame->payload;
  if (frame->type == WH_HELLO) {
    hello(b, frame, now_us);
    return;
  }
  if (frame->type == WH_COMMAND) {
    command(b, frame, now_us);
    return;
  }
  if (frame->type == WH_ESTOP) { /* accepted from every session, at any time */
    cut(b);
    b->faults |= WH_FAULT_ESTOP;
    ack(b, WH_ESTOP, WH_OK, get_u32(&p), now_us);
    return;
  }
  if (frame->type != WH_ARM && frame->type != WH_DISARM && frame->type != WH_CLEAR_FAULT) {
    b->refused++; /* a frame that only a board sends */
    return;
  }
  uint32_t session = get_u32(&p), nonce = get_u32(&p);
  if (!b->has_session || session != b->session) {
    b->refused++;
    ack(b, frame->type, WH_WRONG_SESSION, nonce, now_us);
  } else if (frame->type == WH_ARM) {
    arm(b, nonce, *p, now_us);
  } else {
    settle(b, now_us);
    if (frame->type == WH_CLEAR_FAULT) {
      b->faults = 0;
      memset(b->off, 0, sizeof b->off);
      memset(b->hot_us, 0, sizeof b->hot_us);
    }
    ack(b, frame->type, WH_OK, nonce, now_us);
  }
}

void wh_board_receive(wh_board *b, const uint8_t *data, size_t size, uint32_t now_us) {
  for (size_t i = 0; i < size; i++) {
    if (data[i] != 0) {
      if (b->piece_size < sizeof b->piece)
        b->piece[b->piece_size++] = data[i];
      else
        b->piece_too_long = 1;
      continue;
    }
    if (b->piece_size > 0) {
      wh_frame frame;
      if (!b->piece_too_long && wh_decode(b->piece, b->piece_size, &frame) == 0)
        handle(b, &frame, now_us);
      else
        b->damaged++;
    }
    b->piece_size = 0;
    b->piece_too_long = 0;
  }
}

size_t wh_board_transmit(wh_board *b, uint8_t *out, size_t room) {
  size_t n = b->out_size < room ? b->out_size : room;
  memcpy(out, b->out, n);
  memmove(b->out, b->out + n, b->out_size - n);
  b->out_size -= n;
  return n;
}

static void watch(wh_board *b, const wh_sensors *s, uint32_t now_us) {
  const wh_config *c = &b->config;
  uint32_t dt_us = b->has_tick ? now_us - b->last_tick_us : 0u;
  b->last_tick_us = now_us;
  b->has_tick = 1;
  if (b->armed && now_us - b->command_us > b->valid_us) {
    b->faults |= WH_FAULT_TIMEOUT;
    settle(b, now_us);
  }
  if (!(s->battery_v >= c->brown_out_v)) {
    b->faults |= WH_FAULT_BROWN_OUT;
    settle(b, now_us);
  }
  if (!s->imu_ok && b->armed) {
    b->faults |= WH_FAULT_IMU;
    settle(b, now_us);
  }
  for (int i = 0; i < WH_MOTORS; i++) {
    int hot = !(fabsf(s->torque_nm[i]) <= c->overheat_nm);
    b->hot_us[i] = hot ? b->hot_us[i] + dt_us : 0u;
    if (b->hot_us[i] > 1000u * c->overheat_ms) {
      b->off[i] = 1;
      b->faults |= WH_FAULT_OVERHEAT;
    }
  }
  if (!b->armed && b->mode == WH_DAMP && now_us - b->damp_us > 1000u * c->damp_ms) b->mode = WH_OFF;
}

void wh_board_tick(wh_board *b, const wh_sensors *s, uint32_t now_us, float duty[WH_MOTORS],
                   float *torque_cap_nm) {
  watch(b, s, now_us);
  *torque_cap_nm = b->mode == WH_POSITION ? b->torque_cap_nm : b->config.torque_limit_nm;
  for (int i = 0; i < WH_MOTORS; i++) {
    float d = 0.0f;
    if (b->mode == WH_POSITION)
      d = b->kp[i] * (b->angle_rad[i] - s->angle_rad[i]) +
          b->kd[i] * (b->velocity_rad_s[i] - s->velocity_rad_s[i]) + b->feed_forward[i];
    else if (b->mode == WH_DAMP)
      d = -b->config.damp_kd * s->velocity_rad_s[i];
    if (!(d >= -1.0f && d <= 1.0f)) d = d > 1.0f ? 1.0f : d < -1.0f ? -1.0f : 0.0f; /* NaN: 0 */
    duty[i] = b->off[i] ? 0.0f : d;
  }
}

uint8_t wh_board_mode(const wh_board *b) { return b->mode; }

uint32_t wh_board_faults(const wh_board *b) { return b->faults; }

void wh_board_report(wh_board *b, const wh_sensors *s, uint32_t now_us) {
  uint8_t payload[200], *p = payload;
  put_u32(&p, b->session);
  put_u16(&p, b->last_seq);
  *p++ = b->mode;
  *p++ = b->armed;
  put_u32(&p, b->faults);
  put_u32(&p, b->accepted);
  put_u32(&p, b->refused);
  put_u32(&p, b->damaged);
  put_f32(&p, s->battery_v);
  put_f32(&p, s->battery_a);
  put_floats(&p, s->angle_rad, WH_MOTORS);
  put_floats(&p, s->velocity_rad_s, WH_MOTORS);
  put_floats(&p, s->current_a, WH_MOTORS);
  put_floats(&p, s->temperature_c, WH_MOTORS);
  put_floats(&p, s->attitude_xyzw, 4);
  put_floats(&p, s->angular_velocity_rad_s, 3);
  put_floats(&p, s->acceleration_m_s2, 3);
  send(b, WH_STATE, payload, now_us);
}
