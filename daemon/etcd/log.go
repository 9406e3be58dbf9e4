// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"log/slog"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger returns a logger for etcd that tells log its warnings and what is worse, until it is closing: it takes its own
// end for a failure.
func newLogger(log *slog.Logger, closing *atomic.Bool) *zap.Logger {
	return zap.New(core{log, closing})
}

type core struct {
	log     *slog.Logger
	closing *atomic.Bool
}

func (c core) Enabled(level zapcore.Level) bool {
	return level >= zapcore.WarnLevel && !c.closing.Load()
}

func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.log.With(attributes(fields)...), c.closing}
}

func (c core) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c core) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if entry.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	c.log.Log(context.Background(), level, entry.Message, attributes(fields)...)
	return nil
}

func (core) Sync() error { return nil }

func attributes(fields []zapcore.Field) []any {
	encoder := zapcore.NewMapObjectEncoder()
	all := make([]any, 0, len(fields))
	for _, field := range fields {
		field.AddTo(encoder)
	}
	for _, field := range fields {
		if value, ok := encoder.Fields[field.Key]; ok {
			all = append(all, slog.Any(field.Key, value))
		}
	}
	return all
}
