/* SPDX-License-Identifier: MIT
 *
 * The board's side of the walkhome wire protocol (docs/protocol.md): codec and command state
 * machine. C99 without allocation, hardware access or a clock: the calling firmware passes bytes,
 * sensor values and microseconds in, and takes bytes and motor duties out. The emulated board runs
 * the same code.
 */
#ifndef WALKHOME_H
#define WALKHOME_H

#include <stddef.h>
#include <stdint.h>

#define WH_MAJOR 1
#define WH_MINOR 0
#define WH_SCHEMA UINT64_C(0x381f4565b923f618)
#define WH_MOTORS 8
#define WH_MAX_PAYLOAD 320
#define WH_OVERHEAD 12 /* header and CRC */
#define WH_MAX_BODY (WH_MAX_PAYLOAD + WH_OVERHEAD)
#define WH_MAX_ENCODED (WH_MAX_BODY + WH_MAX_BODY / 254 + 1)

enum wh_type {
  WH_HELLO = 0x01,
  WH_HELLO_ACK = 0x02,
  WH_ARM = 0x03,
  WH_DISARM = 0x04,
  WH_CLEAR_FAULT = 0x05,
  WH_ESTOP = 0x06,
  WH_ACK = 0x07,
  WH_COMMAND = 0x10,
  WH_STATE = 0x11
};
enum wh_mode { WH_OFF = 0, WH_DAMP = 1, WH_POSITION = 2 };
enum wh_code {
  WH_OK = 0,
  WH_CHALLENGE = 1,
  WH_WRONG_MAJOR = 2,
  WH_WRONG_SCHEMA = 3,
  WH_BUSY = 4,
  WH_WRONG_SESSION = 5,
  WH_WRONG_NONCE = 6,
  WH_FAULT_LATCHED = 7
};
enum wh_fault {
  WH_FAULT_TIMEOUT = 1,
  WH_FAULT_ESTOP = 2,
  WH_FAULT_OVERHEAT = 4,
  WH_FAULT_BROWN_OUT = 8,
  WH_FAULT_IMU = 16
};

/* -- codec ---------------------------------------------------------------------------------- */

typedef struct {
  uint8_t type, flags;
  uint16_t seq;
  uint32_t time_us;
  uint16_t size;
  uint8_t payload[WH_MAX_PAYLOAD];
} wh_frame;

uint32_t wh_crc32(const uint8_t *data, size_t size);
/* Payload size of a message type, bytes; -1 for an unknown type. */
int wh_payload_size(uint8_t type);
/* Encode a frame with its delimiter into out[WH_MAX_ENCODED + 1]; returns the number of bytes. */
size_t wh_encode(const wh_frame *frame, uint8_t *out);
/* Decode the bytes between two delimiters; returns 0 for a valid frame, else -1. */
int wh_decode(const uint8_t *piece, size_t size, wh_frame *frame);

/* -- the board -------------------------------------------------------------------------------- */

typedef struct {
  char robot_id[16], firmware[16];
  float angle_limit_rad; /* largest magnitude of a target */
  float kp_limit, kd_limit;
  float torque_limit_nm;
  float velocity_limit_rad_s;
  uint16_t valid_limit_ms; /* longest validity of a command */
  uint16_t damp_ms;        /* duration of damping after a time-out or DISARM; then limp */
  float damp_kd;
  float overheat_nm; /* more torque for overheat_ms switches a motor off until CLEAR_FAULT */
  uint16_t overheat_ms;
  float brown_out_v;
  uint32_t zero_table, boot;
} wh_config;

typedef struct {
  float battery_v, battery_a;
  float angle_rad[WH_MOTORS], velocity_rad_s[WH_MOTORS], torque_nm[WH_MOTORS];
  float current_a[WH_MOTORS], temperature_c[WH_MOTORS];
  float attitude_xyzw[4], angular_velocity_rad_s[3], acceleration_m_s2[3];
  uint8_t imu_ok;
} wh_sensors;

typedef struct {
  wh_config config;
  /* link */
  uint8_t piece[WH_MAX_ENCODED];
  size_t piece_size;
  uint8_t piece_too_long;
  uint8_t out[4 * (WH_MAX_ENCODED + 1)];
  size_t out_size;
  uint16_t seq;
  /* session */
  uint32_t session, challenge, challenge_us;
  uint8_t has_session, has_challenge, armed;
  uint16_t last_seq;
  uint8_t has_seq;
  /* command */
  uint8_t mode;
  uint32_t command_us, valid_us, damp_us;
  float torque_cap_nm;
  float angle_rad[WH_MOTORS], velocity_rad_s[WH_MOTORS], feed_forward[WH_MOTORS];
  float kp[WH_MOTORS], kd[WH_MOTORS];
  /* supervision */
  uint32_t faults, accepted, refused, damaged;
  uint32_t hot_us[WH_MOTORS], last_tick_us;
  uint8_t off[WH_MOTORS], has_tick;
} wh_board;

size_t wh_board_size(void);
void wh_board_init(wh_board *board, const wh_config *config, uint32_t random);
/* Process bytes from the host. */
void wh_board_receive(wh_board *board, const uint8_t *data, size_t size, uint32_t now_us);
/* Take at most `room` of the bytes that wait for the host; returns their number. */
size_t wh_board_transmit(wh_board *board, uint8_t *out, size_t room);
/* Call once per control period of the motors (1 kHz). Supervises, then returns the duty of each
   motor in [-1, 1] (all zero: limp) and the largest torque magnitude of a motor. */
void wh_board_tick(wh_board *board, const wh_sensors *sensors, uint32_t now_us,
                   float duty[WH_MOTORS], float *torque_cap_nm);
/* Queue a STATE frame. */
void wh_board_report(wh_board *board, const wh_sensors *sensors, uint32_t now_us);

/* State of the motors (wh_mode), and latched faults (wh_fault): for an indicator or a log. */
uint8_t wh_board_mode(const wh_board *board);
uint32_t wh_board_faults(const wh_board *board);

#endif
